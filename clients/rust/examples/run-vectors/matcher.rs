//! Compares what was observed with what a vector expects.

use serde_json::Value;

/// Says where and how an observation differs from what is expected; `seen` is None for a member that is not there.
pub fn mismatch(path: &str, expected: &Value, seen: Option<&Value>) -> Option<String> {
    let wrong = || Some(format!("{path} is {}, expected {}", shown(seen), shown(Some(expected))));
    match expected {
        Value::Object(members) => {
            if let Some((condition, operand)) = members.iter().next().filter(|(name, _)| name.starts_with('$')) {
                return if holds(condition, operand, seen) { None } else { wrong() };
            }
            let Some(Value::Object(others)) = seen else {
                return wrong();
            };
            members
                .iter()
                .find_map(|(name, value)| mismatch(&format!("{path}.{name}"), value, others.get(name)))
        }
        Value::Array(items) => match seen {
            Some(Value::Array(others)) if others.len() == items.len() => items
                .iter()
                .zip(others)
                .enumerate()
                .find_map(|(index, (item, other))| mismatch(&format!("{path}[{index}]"), item, Some(other))),
            _ => wrong(),
        },
        Value::Number(number) => {
            if seen.and_then(Value::as_f64) == number.as_f64() {
                None
            } else {
                wrong()
            }
        }
        _ => {
            if seen == Some(expected) {
                None
            } else {
                wrong()
            }
        }
    }
}

fn holds(condition: &str, operand: &Value, seen: Option<&Value>) -> bool {
    let text = seen.and_then(Value::as_str);
    match condition {
        "$absent" => seen.is_none(),
        "$present" => seen.is_some_and(|value| !value.is_null() && value != ""),
        "$contains" => text
            .zip(operand.as_str())
            .is_some_and(|(text, part)| text.contains(part)),
        "$bytes" => text
            .zip(operand.as_u64())
            .is_some_and(|(text, most)| text.len() as u64 <= most),
        "$between" => seen
            .and_then(Value::as_f64)
            .is_some_and(|number| operand[0].as_f64() <= Some(number) && Some(number) <= operand[1].as_f64()),
        _ => panic!("a vector names {condition}"),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("absent".into(), |value| value.to_string().chars().take(400).collect())
}
