// Compares what was observed with what a vector expects.

/** JSON; undefined is a member that is not there. */
export type Json = string | number | boolean | null | undefined | Json[] | { [name: string]: Json };

/** Says where and how an observation differs from what is expected; undefined if it matches. */
export function mismatch(expected: Json, seen: Json, path = ""): string | undefined {
  if (Array.isArray(expected)) {
    if (!Array.isArray(seen) || seen.length !== expected.length) {
      return difference(path, expected, seen);
    }
    return first(expected, (item, index) => mismatch(item, seen[index], `${path}[${index}]`));
  }
  if (isObject(expected)) {
    const [only, ...others] = Object.entries(expected);
    if (only?.[0].startsWith("$") && others.length === 0) {
      return holds(...only, seen) ? undefined : difference(path, expected, seen);
    }
    if (!isObject(seen)) {
      return difference(path, expected, seen);
    }
    return first(Object.entries(expected), ([name, value]) =>
      mismatch(value, Object.hasOwn(seen, name) ? seen[name] : undefined, path ? `${path}.${name}` : name),
    );
  }
  return expected === seen ? undefined : difference(path, expected, seen);
}

function holds(condition: string, operand: Json, seen: Json): boolean {
  switch (condition) {
    case "$absent":
      return seen === undefined;
    case "$present":
      return seen !== undefined && seen !== null && seen !== "";
    case "$contains":
      return typeof seen === "string" && seen.includes(String(operand));
    case "$bytes":
      return typeof seen === "string" && Buffer.byteLength(seen) <= Number(operand);
    case "$between": {
      const [low, high] = operand as number[];
      return typeof seen === "number" && low! <= seen && seen <= high!;
    }
    default:
      throw new Error(`a vector names ${condition}`);
  }
}

function isObject(value: Json): value is { [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function first<Item>(items: Item[], check: (item: Item, index: number) => string | undefined): string | undefined {
  for (const [index, item] of items.entries()) {
    const fault = check(item, index);
    if (fault !== undefined) {
      return fault;
    }
  }
  return undefined;
}

function difference(path: string, expected: Json, seen: Json): string {
  return `${path || "the observation"} is ${shown(seen)}, expected ${shown(expected)}`;
}

function shown(value: Json): string {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length <= 500 ? text : `${text.slice(0, 500)}…`;
}
