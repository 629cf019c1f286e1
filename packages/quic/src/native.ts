import quiche from "@matrixai/quic/native/quiche.js";

export type {
  Config as NativeConfig,
  Connection as NativeConnection,
  PathStats as NativePathStats,
} from "@matrixai/quic/native/types.js";
// The one place that names the binding: an executable bundle replaces this module's import with a static path.
export { quiche };
