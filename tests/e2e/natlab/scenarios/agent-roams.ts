import { ROAMED_AIM_MS, type Scenario } from "./scenario.ts";

export const agentRoams: Scenario = {
  words: "from Wi-Fi to cell: the agent's interface is gone, another appears, behind another NAT",
  world: { secondUplink: "eim-apdf-hashed" },
  aimMs: ROAMED_AIM_MS,
  change({ lab, cellSide }) {
    if (!cellSide) throw new Error("a second uplink was expected");
    const net = cellSide.hostIp.split(".").slice(0, 3).join(".");
    lab.ip("agent", "link delete eth0");
    lab.ip("cell", "link set eth0 netns agent");
    lab.ip("agent", `addr add ${cellSide.hostIp}/24 dev eth0`, "link set eth0 up", `route add default via ${net}.1`);
  },
};
