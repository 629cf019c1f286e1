import { readFileSync } from "node:fs";
import { test } from "@adit/harness";
import { VERSION } from "../src/index.ts";

test("the version is the one in package.json of the three programs", (t) => {
  for (const name of ["program", "agent", "connector", "intermediate"]) {
    const { version } = JSON.parse(readFileSync(`packages/${name}/package.json`, "utf8"));
    t.equal(version, VERSION, name);
  }
});
