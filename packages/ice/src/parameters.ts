import { type Random, randomInt } from "@adit/core";

/** What a peer must know to answer and verify checks of one generation (RFC 8445 §5.3, RFC 8839 §5.4 to §5.6). */
export interface IceParameters {
  /** 4..256 ice-chars. */
  readonly ufrag: string;
  /** 22..256 ice-chars. */
  readonly pwd: string;
  /** ice-options: `ice2`, `trickle`, `renomination`, `ta/5`, ... */
  readonly options: readonly string[];
  /** `ice-lite`: the peer only answers checks (RFC 8445 §2.5), so we control. Of the peer's only. */
  readonly lite?: boolean;
  /** `ice-pacing`: the Ta that the peer proposes (RFC 8839 §5.5), ms. Of the peer's only; ours is told by an option. */
  readonly pacingMs?: number;
}

/** RFC 8839 §5.1: ice-char = ALPHA / DIGIT / "+" / "/". */
const ICE_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const ICE_TEXT = /^[A-Za-z0-9+/]*$/;

/** RFC 8445 §14.2: "ICE agents SHOULD use a default Ta value, 50 ms", and "Both agents MUST use the higher value of the proposed values." */
export const DEFAULT_TA_MS = 50;
/** RFC 8445 §14.2: transactions "MUST NOT be sent more often than once every 5 ms". */
export const MIN_TA_MS = 5;

const TA_OPTION = /^ta\/(\d{1,4})$/;

/** Fresh credentials: 48 random bits of fragment (§5.3 asks for 24), 144 of password (§5.3 asks for 128). */
export function generateParameters(random: Random, options: readonly string[]): IceParameters {
  return { ufrag: iceText(random, 8), pwd: iceText(random, 24), options };
}

/** Whether fragment and password have the form of RFC 8839 §5.4. */
export function isValidParameters(p: IceParameters): boolean {
  const fits = (text: string, min: number) => text.length >= min && text.length <= 256 && ICE_TEXT.test(text);
  return fits(p.ufrag, 4) && fits(p.pwd, 22);
}

/** How a Ta other than the default is announced: the role of RFC 8839's ice-pacing attribute, as an ice-option. */
export const taOption = (taMs: number): string => `ta/${taMs}`;

/** A peer that would check more slowly than this is taken to mean this: else it could put us off for good. */
const MAX_TA_MS = 10_000;

/** The Ta in force: the greater of the two proposals; a peer that says nothing proposes the default. */
export function agreedTaMs(ownMs: number, { options, pacingMs }: Pick<IceParameters, "options" | "pacingMs">): number {
  let remoteMs = pacingMs ?? DEFAULT_TA_MS;
  for (const option of options) {
    const match = TA_OPTION.exec(option);
    if (match) remoteMs = Number(match[1]);
  }
  return Math.max(MIN_TA_MS, ownMs, Math.min(MAX_TA_MS, remoteMs));
}

/** `length` random ice-chars, 6 bits each. */
function iceText(random: Random, length: number): string {
  let text = "";
  for (let i = 0; i < length; i++) text += ICE_CHARS[randomInt(random, 64)];
  return text;
}
