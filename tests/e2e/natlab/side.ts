import { run } from "./commands.ts";
import { type NatSetting, natRules } from "./nat-rules.ts";

/** A host and the NATs between it and the internet. */
export interface Side {
  /** The host's namespace. */
  readonly host: string;
  readonly hostIp: string;
  /** The innermost first; a NAT that is shared with another side is not among them. */
  readonly nats: readonly NatOfLab[];
  /** What the internet sees. */
  readonly publicIp: string;
  /** The namespace furthest out that is this side's alone: it has the device `wan`, or `eth0` where it is the host behind a shared NAT. */
  readonly edge: string;
}

/** One NAT; every change replaces its rules at once. */
export class NatOfLab {
  readonly name: string;
  #setting: NatSetting;
  #rules: (setting: NatSetting) => string = natRules;

  constructor(name: string, setting: NatSetting) {
    this.name = name;
    this.#setting = setting;
    this.forgetAfter(setting.bindingTimeoutS);
  }

  get setting(): NatSetting {
    return this.#setting;
  }

  /** Other rules from now on. */
  follow(rules: (setting: NatSetting) => string): void {
    this.#rules = rules;
    this.#load();
  }

  /** Forgets all mappings, as a reboot does. */
  reboot(): void {
    this.#setting = { ...this.#setting, generation: this.#setting.generation + 1 };
    this.#load();
  }

  /** Another external address, as after a reconnect of the line; mappings are gone with the old one. */
  renumber(externalIp: string): void {
    this.#setting = { ...this.#setting, externalIp, generation: this.#setting.generation + 1 };
    this.#load();
  }

  /** Mappings that rest for so long are forgotten, from now on. */
  forgetAfter(bindingTimeoutS: number): void {
    const timeouts = ["timeout", "timeout_stream"].map((name) => `net.netfilter.nf_conntrack_udp_${name}`);
    run("sysctl", ["-qw", ...timeouts.map((name) => `${name}=${bindingTimeoutS}`)], { namespace: this.name });
    this.#setting = { ...this.#setting, bindingTimeoutS };
    this.#load();
  }

  /** Datagrams to and from these addresses are dropped without a word, and no others. */
  block(ips: readonly string[], percent = 100): void {
    const some = percent < 100 ? `numgen random mod 100 < ${percent} ` : "";
    run("nft", ["-f", "-"], {
      namespace: this.name,
      input: [
        "add table ip block",
        "delete table ip block",
        "add table ip block",
        "add chain ip block arriving { type filter hook prerouting priority -310; }",
        ...ips.flatMap((ip) => [
          `add rule ip block arriving ip saddr ${ip} ${some}drop`,
          `add rule ip block arriving ip daddr ${ip} ${some}drop`,
        ]),
      ].join("\n"),
    });
  }

  #load(): void {
    run("nft", ["-f", "-"], { namespace: this.name, input: this.#rules(this.#setting) });
  }
}
