// A loop that stands still for ever ends its process; one that is only busy does not.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "@adit/harness";

const module = fileURLToPath(new URL("../src/watchdog.ts", import.meta.url));
const run = (script: string) =>
  spawnSync(process.execPath, ["-e", `const { startWatchdog } = await import(${JSON.stringify(module)});${script}`], {
    encoding: "utf8",
    timeout: 20_000,
    killSignal: "SIGKILL",
  });

test("a loop that does not turn any more is ended after so much CPU", (t) => {
  const { signal, stdout } = run(`await startWatchdog(200, 50); console.log("begun"); for (;;);`);
  t.same([signal, stdout], ["SIGPROF", "begun\n"]);
});

test("one that turns is not, however much it does; nor is one whose watch has ended", (t) => {
  const work = `
    const used = () => { const { user, system } = process.cpuUsage(); return user + system; };
    const burn = (ms) => { const until = used() + ms * 1000; while (used() < until); };
    const watch = await startWatchdog(300, 20);
    for (let i = 0; i < 20; i++) { burn(30); await new Promise((resolve) => setTimeout(resolve, 25)); }
    watch.stop();
    burn(400);
    console.log("done");`;
  const { signal, status, stdout, stderr } = run(work);
  t.same([signal, status, stdout, stderr], [null, 0, "done\n", ""]);
});
