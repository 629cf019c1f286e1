/** A session description with one data channel, as browsers want it. The DTLS fingerprint is nobody's: what is judged is ICE. */
export function sessionDescription({ type, ufrag, pwd, candidates }) {
  return [
    "v=0",
    "o=- 1 1 IN IP4 127.0.0.1",
    "s=-",
    "t=0 0",
    "a=group:BUNDLE 0",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "c=IN IP4 0.0.0.0",
    "a=mid:0",
    `a=ice-ufrag:${ufrag}`,
    `a=ice-pwd:${pwd}`,
    "a=ice-options:ice2 trickle",
    `a=setup:${type === "offer" ? "actpass" : "active"}`,
    `a=fingerprint:sha-256 ${Array(32).fill("AB").join(":")}`,
    "a=sctp-port:5000",
    ...candidates.map((text) => `a=${text}`),
    "a=end-of-candidates",
    "",
  ].join("\r\n");
}

/** The first value of an attribute. */
export const attribute = (sdp, name) => new RegExp(`^a=${name}:(.*?)\\r?$`, "m").exec(sdp)?.[1];

export const describe = (sdp, candidates) => ({
  ufrag: attribute(sdp, "ice-ufrag"),
  pwd: attribute(sdp, "ice-pwd"),
  options: (attribute(sdp, "ice-options") ?? "").split(" ").filter(Boolean),
  candidates,
});
