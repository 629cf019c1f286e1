/** Application close codes of `adit-peer/1` (docs/protocol.md). */
export const CLOSE_CODE = { done: 0, refused: 1, protocol: 2, superseded: 3 } as const;
