/**
 * The session as 8 bytes: the end of the source connection ID in the agent's first packets, so that the connector knows which
 * of several sessions from one address a connection belongs to. A hint, no secret: the gate and the certificate decide.
 */
export function sessionTag(sessionId: bigint): Uint8Array {
  const tag = new Uint8Array(8);
  new DataView(tag.buffer).setBigUint64(0, sessionId);
  return tag;
}
