import type { WireQuality } from "../wire.ts";
import type { World, WorldOptions } from "../world.ts";

/** The network changes under a transfer. */
export interface Scenario {
  /** What happens, for readers. */
  readonly words: string;
  readonly world?: Partial<WorldOptions>;
  /** Does the change, and returns when the network is whole again (which may be at once). */
  change(world: World): Promise<void> | void;
  /** How long the silence may last at p95, at round trips below 50 ms; the time for which there is no way at all is in it. */
  readonly aimMs?: number;
  /** Within how long the session is on another path, at p95. */
  readonly leaveAimMs?: number;
  /** For networks that would take too long for the whole file. */
  readonly maxBytes?: number;
  /** The agent is not there yet: `instead` starts it. */
  readonly startsAlone?: boolean;
  /** Being direct is not what it is about. */
  readonly relayWillDo?: boolean;
  /** Between these NATs no direct path is waited for. */
  readonly neverDirect?: boolean;
  /** A transfer is not what it is about: what is done in its place, once the session is direct. */
  readonly instead?: (world: World) => Promise<ScenarioRun>;
}

export interface ScenarioRun {
  /** The longest silence that the application saw, from the change on. For `idle`: the time to the first byte afterwards. */
  readonly gapMs: number;
  /** From the change to the first packet on another path, by the agent's log; null when there was none. */
  readonly leftMs: number | null;
  /** From the change (or from its end, where it has one) to direct; null when the session never left the direct path. */
  readonly directAgainMs: number | null;
  /** From the first connection to its first byte, where coming up is what it is about. */
  readonly upMs: number | null;
  /** Of the whole file; null where none was transferred. */
  readonly transferMs: number | null;
  readonly handshakes: number;
  readonly path: string;
}

/** What a scenario may have no figure for. */
export const none = { leftMs: null, directAgainMs: null, upMs: null, transferMs: null } as const;

export interface BadNetwork {
  readonly words: string;
  readonly quality: WireQuality;
}

/** Nothing changes: the network is bad from the start. */
export function transferOver({ words, quality }: BadNetwork, maxBytes: number): Scenario {
  return { words, world: { quality }, relayWillDo: true, maxBytes, change: () => {} };
}

export const OUTAGE_MS = 5000;

/** The agent's NAT loses all, or a share, of what goes to and comes from these addresses for a while. */
export async function blockFor({ agentSide }: World, ips: readonly string[], percent = 100): Promise<void> {
  agentSide.nats[0]?.block(ips, percent);
  await Bun.sleep(OUTAGE_MS);
  agentSide.nats[0]?.block([]);
}

/** "Aims: 500 ms where a path is still standing, 2 s after a roam." */
export const STANDING_AIM_MS = 500;
export const ROAMED_AIM_MS = 2000;
