// Reads one JSON array of {text, contexts}, writes one of {value} or {error}: GitHub's own answers.
import { Lexer, Parser, Evaluator, data } from "@actions/expressions";

function made(value) {
  if (value === null) return new data.Null();
  if (typeof value === "string") return new data.StringData(value);
  if (typeof value === "number") return new data.NumberData(value);
  if (typeof value === "boolean") return new data.BooleanData(value);
  if (Array.isArray(value)) return new data.Array(...value.map(made));
  const pairs = Object.entries(value).map(([key, item]) => ({ key, value: made(item) }));
  return new data.Dictionary(...pairs);
}

function answer({ text, contexts }) {
  try {
    const names = Object.keys(contexts);
    const tree = new Parser(new Lexer(text).lex().tokens, names, []).parse();
    const value = new Evaluator(tree, made(contexts)).evaluate();
    const plain = JSON.stringify(value, data.replacer);
    return { value: JSON.parse(plain), text: value.coerceString() };
  } catch (error) {
    return { error: String(error.message ?? error) };
  }
}

let input = "";
for await (const chunk of process.stdin) input += chunk;
process.stdout.write(JSON.stringify(JSON.parse(input).map(answer)));
