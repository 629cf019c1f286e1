import { runProgram } from "@adit/program";
import { makeProgram } from "./program.ts";

await runProgram(makeProgram());
