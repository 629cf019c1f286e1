import { SocketAddress } from "@adit/core";
import type { EndpointStatus } from "@adit/transport";

/** An endpoint with a session on a direct path. */
export const status: EndpointStatus = {
  peerId: "me",
  dropped: { "gate-closed": 3 },
  intermediate: { address: "127.0.0.1:4433", connected: true, rttMs: 0.4 },
  intermediates: [
    { address: "127.0.0.1:4433", connected: true, rttMs: 0.4, transport: "quic", relay: null },
    { address: "127.0.0.9:4433", connected: false, rttMs: null, transport: null, relay: null },
  ],
  udpReach: "open",
  observedAddress: SocketAddress.of("203.0.113.7", 40_111),
  portMapping: {
    gateway: "192.168.1.1",
    protocol: "pcp",
    external: SocketAddress.of("11.0.0.10", 40_111),
    public: true,
    reason: "11.0.0.10:40111 at the router 192.168.1.1 by PCP",
  },
  totals: {
    sessions: 3,
    handshakes: 4,
    migrations: 5,
    sentBytes: 1_123,
    receivedBytes: 2_456,
    packetsSent: 30,
    packetsReceived: 20,
    packetsLost: 2,
  },
  sessions: [
    {
      id: "1",
      peer: { id: "them", name: "office" },
      path: "direct",
      local: SocketAddress.of("127.0.0.2", 51_111),
      remote: SocketAddress.of("127.0.0.3", 52_222),
      localType: "host",
      remoteType: "host",
      rttMs: 0.3,
      relayRttMs: 0.5,
      datagramBytes: 1472,
      sentBytes: 123,
      receivedBytes: 456,
      handshakes: 1,
      migrations: 1,
      reason: "direct pair nominated",
    },
  ],
};
