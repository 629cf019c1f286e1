// What the documents point at is there: relative links lead to files and to headings; each ADR has a number of its own, which its title begins with,
// and stands in the list of them.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";

const documents = execFileSync("git", ["ls-files", "-co", "--exclude-standard", "*.md"], { encoding: "utf8" })
  .split("\n")
  .filter((file) => file !== "" && existsSync(file));

const withoutCode = (text) => text.replace(/^```.*?^```/gms, "").replace(/`[^`\n]*`/g, "");

/** The anchors of a document's headings, as GitHub makes them, and those that it names itself. */
function anchorsIn(text) {
  const headings = [...text.replace(/^```.*?^```/gms, "").matchAll(/^#+ +(.*)$/gm)].map(([, heading]) => heading);
  const slugs = headings.map((heading) =>
    heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
  // A heading that comes again gets a number.
  const times = new Map();
  const numbered = slugs.map((slug) => {
    const before = times.get(slug) ?? 0;
    times.set(slug, before + 1);
    return before === 0 ? slug : `${slug}-${before}`;
  });
  return new Set([...numbered, ...[...text.matchAll(/id="([^"]+)"/g)].map(([, id]) => id)]);
}

const problems = [];
for (const file of documents) {
  for (const [, target] of withoutCode(readFileSync(file, "utf8")).matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/i.test(target)) continue; // another site
    const [path, anchor] = target.split("#");
    const led = path === "" ? file : normalize(join(dirname(file), path));
    if (!existsSync(led)) problems.push(`${file}: ${target}: there is no ${led}`);
    else if (
      anchor &&
      led.endsWith(".md") &&
      statSync(led).isFile() &&
      !anchorsIn(readFileSync(led, "utf8")).has(anchor)
    )
      problems.push(`${file}: ${target}: ${led} has no such heading`);
  }
}

const ADR_LIST = "docs/adr/README.md";
const listed = existsSync(ADR_LIST) ? readFileSync(ADR_LIST, "utf8") : "";
const numbers = new Map();
for (const file of documents.filter((name) => name.startsWith("docs/adr/") && name !== ADR_LIST)) {
  const [number] = basename(file).split("-");
  const title = /^# (\d{4}): (.*)$/m.exec(readFileSync(file, "utf8"));
  if (title?.[1] !== number) problems.push(`${file}: its title is to begin with "# ${number}: "`);
  if (!listed.includes(`| [${number}](${basename(file)}) | ${title?.[2]} |`))
    problems.push(`${ADR_LIST}: there is no line "| [${number}](${basename(file)}) | ${title?.[2]} |"`);
  if (numbers.has(number)) problems.push(`${file}: ${numbers.get(number)} has that number`);
  numbers.set(number, file);
}

if (documents.length === 0) problems.push("there is no document: this is not a git checkout");
for (const problem of problems) console.error(problem);
process.exit(problems.length === 0 ? 0 : 1);
