// What ESLint is to look for, and how it reads a file that it knows nothing about.
import { createRequire } from "node:module";
import { realpathSync } from "node:fs";

// Plugins come from beside the ESLint that runs, never from the project.
const load = createRequire(realpathSync(process.argv[1]));
const espree = load("espree");
const typescript = load("@typescript-eslint/parser");
const security = load("eslint-plugin-security");
const { builtinRules } = load("eslint/use-at-your-own-risk");

const javascript = (sourceType) => (code, options) => ({
  ast: espree.parse(code, { ...options, ecmaVersion: "latest", sourceType, ecmaFeatures: { jsx: true } }),
});
const typed = (code, options) => typescript.parseForESLint(code, { ...options, ecmaFeatures: { jsx: true } });

// A file is read as whatever it can be read as; what is said of it is the first error.
const parser = {
  meta: { name: "pilotage", version: "1" },
  parseForESLint(code, options) {
    const ways = /\.[mc]?tsx?$/i.test(options.filePath)
      ? [typed]
      : [javascript("module"), javascript("commonjs"), typed];
    let first;
    for (const way of ways) {
      try {
        return way(code, options);
      } catch (error) {
        first ??= error;
      }
    }
    throw first;
  },
};

const quality = [...builtinRules]
  .filter(([name, rule]) => rule.meta.docs?.recommended && name !== "no-undef")
  .map(([name]) => [name, "warn"]);
const dangerous = ["no-eval", "no-implied-eval", "no-new-func", "no-script-url"].map((name) => [name, "error"]);
const plugin = Object.keys(security.rules).map((name) => [`security/${name}`, "error"]);

export default [
  { ignores: ["!**/node_modules/", "!**/.git/"] },
  {
    files: ["**/*.{js,mjs,cjs,jsx,ts,mts,cts,tsx}"],
    languageOptions: { parser, ecmaVersion: "latest" },
    linterOptions: { noInlineConfig: true, reportUnusedDisableDirectives: "off" },
    plugins: { security },
    rules: Object.fromEntries([...quality, ...dangerous, ...plugin]),
  },
];
