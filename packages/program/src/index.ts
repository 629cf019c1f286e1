export { type AdminServer, type AdminSource, isTrustedHost, type Metric, renderMetrics, startAdmin } from "./admin.ts";
export { CarriedFlow, type CarriedFlowOptions } from "./carried-flow.ts";
export { type CommandSpec, type Context, type Invocation, Program } from "./command-line.ts";
export { readConfigFile } from "./config-file.ts";
export { type DatagramDrop, type DatagramStatus, Datagrams, type Flow } from "./datagrams.ts";
export { bindFailure, codeOf, EXIT_STATUS, type ExitCode, ExitError, exitCodeOf, sentenceOf } from "./exit.ts";
export { FlowTable, type FlowTableOptions, IdleTimer, type UdpFlowsOptions } from "./flow-table.ts";
export {
  type ByteStream,
  type ForwardResult,
  forwardBytes,
  forwardTcp,
  type LocalEnd,
  STREAM_BROKEN,
} from "./forward.ts";
export { Histogram } from "./histogram.ts";
export { loadIdentity } from "./key-file.ts";
export { lockStateDir, type StateLock } from "./lock.ts";
export { createLogger, type LogFormat, type LoggerOptions, type LogLevel } from "./logger.ts";
export {
  type CommonOptions,
  commonOptions,
  list,
  type OptionSpec,
  type OptionTable,
  toggle,
  type Values,
  value,
} from "./options.ts";
export {
  addForgetCommand,
  addIdCommand,
  addStatusCommand,
  adminOption,
  congestionControls,
  type OpenState,
  peerOptions,
  statusOptions,
  withState,
} from "./peer-commands.ts";
export { peerMetrics, type Readiness } from "./peer-metrics.ts";
export { type ExposureStatus, type ListenerStatus, peerStatus, peerStatusInWords } from "./peer-status.ts";
export { intermediateOptions, type PinKind, Pins } from "./pins.ts";
export { type EndSignal, type Host, runProgram } from "./run.ts";
export { defaultStateDir, ensureStateDir } from "./state.ts";
export { type StatusCheck, type StatusRequest, showStatus } from "./status-client.ts";
export { Streams } from "./streams.ts";
export { closest } from "./suggest.ts";
export { SAMPLE_MS, Trace, type TraceOptions } from "./trace.ts";
export {
  bindAddress,
  count,
  directory,
  duration,
  type Exposure,
  exposure,
  filePath,
  hostPort,
  type IntermediateAddress,
  type IpPrefix,
  intermediateAddress,
  ipAddress,
  ipPrefix,
  isPeerId,
  type LocalListener,
  localListener,
  oneOf,
  peerIdOrAny,
  peerName,
  portRange,
  secretText,
  serviceName,
  socketAddress,
  socketAddressOrOff,
  type Target,
  target,
  text,
  userPassword,
  ValueError,
  type ValueType,
} from "./values.ts";
export { VERSION } from "./version.ts";
