import eslint from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  { ignores: ["dist/", "src/gen/", "eslint.config.js"] },
  eslint.configs.recommended,
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // Numbers in texts are meant.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
    },
  },
  {
    files: ["src/test/**"],
    rules: {
      // node:test waits for its tests by itself.
      "@typescript-eslint/no-floating-promises": "off",
      // A value that this version does not know is made of a number.
      "@typescript-eslint/no-unsafe-enum-assignment": "off",
    },
  },
);
