// As check.py, with saxes, a parser in JavaScript. It is loaded from the folder of the first argument.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const { SaxesParser } = createRequire(`${process.argv[2]}/`)("saxes");
const XMLNS = "http://www.w3.org/2000/xmlns/";

// In any order that is the same for both.
const sorted = (attributes) => attributes.map((one) => JSON.stringify(one)).sort().map((one) => JSON.parse(one));
const ordered = (tree) =>
  typeof tree === "string" ? tree : [tree[0], tree[1], sorted(tree[2]), tree[3].map(ordered)];

// The first element inside the root.
function read(text) {
  const root = ["", "", [], []];
  const path = [root];
  const parser = new SaxesParser({ xmlns: true });
  const data = (characters) => {
    const inside = path.at(-1)[3];
    if (typeof inside.at(-1) === "string") inside[inside.length - 1] += characters;
    else if (characters !== "") inside.push(characters);
  };
  const refuse = () => {
    throw new Error("something that XMPP forbids");
  };
  parser.on("error", (error) => {
    throw error;
  });
  parser.on("opentag", (tag) => {
    const attributes = Object.values(tag.attributes).filter((attribute) => attribute.uri !== XMLNS);
    const element = [tag.uri, tag.local, sorted(attributes.map(({ uri, local, value }) => [uri, local, value])), []];
    path.at(-1)[3].push(element);
    path.push(element);
  });
  parser.on("closetag", () => path.pop());
  parser.on("text", (characters) => path.length > 1 && data(characters));
  parser.on("cdata", data);
  for (const forbidden of ["comment", "processinginstruction", "doctype"]) parser.on(forbidden, refuse);
  parser.write(text).close();
  const [stanza, ...more] = root[3][0][3].filter((inside) => typeof inside !== "string");
  if (more.length > 0) throw new Error("more than one");
  return stanza;
}

const counts = new Map();
const first = new Map();
let wrong = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  const kind = `${given.what} ${given.from}`;
  counts.set(kind, (counts.get(kind) ?? 0) + 1);
  let found;
  try {
    found = read(given.xml);
  } catch (error) {
    found = String(error);
  }
  if (JSON.stringify(found) !== JSON.stringify(ordered(given.tree))) {
    wrong += 1;
    if (!first.has(kind)) first.set(kind, `${line} is to it ${JSON.stringify(found)}`);
  }
}
for (const [kind, count] of [...counts].sort()) {
  console.log(first.has(kind) ? "other" : "same", kind, count, first.get(kind) ?? "");
}
process.exitCode = Math.min(wrong, 100);
