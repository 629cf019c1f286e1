import { MemoryNameStore } from "../src/names/name-store.ts";
import { nameStoreContract } from "./name-store-contract.ts";

nameStoreContract("memory", () => new MemoryNameStore());
