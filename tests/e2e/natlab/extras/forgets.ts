import type { Extra } from "./index.ts";

/** All NATs of the side forget a mapping that rests for so long. RFC 4787 REQ-5 wants two minutes at least; not all listen. */
export const forgetsAfter = (seconds: number): Extra => ({
  words: `mappings are forgotten after ${seconds} s`,
  forgetsAfterS: seconds,
  apply: (_, { nats }) => {
    for (const nat of nats) nat.forgetAfter(seconds);
  },
});
