/**
 * Whether a seccomp filter of a checkpoint is as strict as the profile that the destination's
 * engine gave to its container: the filter is run (bpf.ts) for every system call by name, and what
 * the profile withholds must not pass. Programs are not compared byte by byte, because another
 * release of libseccomp writes the same profile in another way.
 */
import type { OciSeccomp, OciSyscallRule } from "../../oci/bundle.js";
import { encodeData, type Program, runProgram } from "./bpf.js";
import { type Abi, syscallNumbers } from "./syscalls.js";

interface Variant {
  abi: Abi;
  /** AUDIT_ARCH_*. */
  arch: number;
  /** In the profile's `architectures`. */
  name: string;
  /** x32's calls have bit 30 set. */
  numberBase: number;
  /** libseccomp looks at 32 bits of an argument only. */
  isNarrow: boolean;
}

/** Those a kernel of this architecture runs; 32-bit ARM's calls are not checked. */
const variants: Record<string, Variant[]> = {
  x64: [
    variant("x86_64", 0xc000003e, "SCMP_ARCH_X86_64"),
    variant("i386", 0x40000003, "SCMP_ARCH_X86", { isNarrow: true }),
    variant("x86_64", 0xc000003e, "SCMP_ARCH_X32", { isNarrow: true, numberBase: 0x40000000 }),
  ],
  arm64: [variant("arm64", 0xc00000b7, "SCMP_ARCH_AARCH64")],
};

function variant(
  abi: Abi,
  arch: number,
  name: string,
  { isNarrow = false, numberBase = 0 } = {},
): Variant {
  return { abi, arch, name, numberBase, isNarrow };
}

const noArguments = [0n, 0n, 0n, 0n, 0n, 0n];

/** A call that the profile withholds, as a filter sees it. */
export interface WithheldCall {
  /** e.g. `mount (SCMP_ARCH_X86)` */
  name: string;
  data: DataView;
}

/**
 * Every call that `profile` withholds on a machine of this architecture, each by some arguments.
 * Takes 20 ms (measured), so it is made before the freeze.
 */
export function withheldCalls(profile: OciSeccomp, architecture: string): WithheldCall[] {
  const rulesOf = new Map<string, OciSyscallRule[]>();
  for (const rule of profile.syscalls ?? []) {
    for (const name of rule.names) rulesOf.set(name, [...(rulesOf.get(name) ?? []), rule]);
  }
  const withheld: WithheldCall[] = [];
  for (const tried of variants[architecture] ?? []) {
    const isKnown = (profile.architectures ?? []).includes(tried.name);
    for (const [name, number] of syscallNumbers(tried.abi)) {
      const rules = isKnown ? (rulesOf.get(name) ?? []) : [];
      for (const args of candidates(rules, tried.isNarrow)) {
        if (isKnown && isAllowed(rules, args, profile.defaultAction)) continue;
        const data = encodeData({ number: number + tried.numberBase, arch: tried.arch, args });
        const shown = args.some((arg) => arg !== 0n) ? `, arguments ${args.join(" ")}` : "";
        withheld.push({ name: `${name} (${tried.name}${shown})`, data });
      }
    }
  }
  return withheld;
}

/** The first withheld call that a filter lets through; undefined when there is none. */
export function weakness(program: Program, withheld: readonly WithheldCall[]): string | undefined {
  return withheld.find(({ data }) => isPassing(runProgram(program, data)))?.name;
}

/** An action that lets a call happen, at once or by somebody's leave. Less than ERRNO denies. */
function isPassing(action: number | undefined): boolean {
  return action !== undefined && (action & 0xffff0000) > 0x00050000;
}

const passing = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY"];

function isAllowed(rules: OciSyscallRule[], args: readonly bigint[], fallback: string): boolean {
  const matching = rules.filter((rule) => (rule.args ?? []).every((test) => holds(test, args)));
  if (matching.length === 0) return passing.includes(fallback);
  return matching.some(({ action }) => passing.includes(action));
}

type Condition = NonNullable<OciSyscallRule["args"]>[number];

function holds(condition: Condition, args: readonly bigint[]): boolean {
  const arg = args[condition.index] ?? 0n;
  const value = BigInt(condition.value);
  switch (condition.op) {
    case "SCMP_CMP_NE":
      return arg !== value;
    case "SCMP_CMP_LT":
      return arg < value;
    case "SCMP_CMP_LE":
      return arg <= value;
    case "SCMP_CMP_EQ":
      return arg === value;
    case "SCMP_CMP_GE":
      return arg >= value;
    case "SCMP_CMP_GT":
      return arg > value;
    case "SCMP_CMP_MASKED_EQ":
      return (arg & value) === BigInt(condition.valueTwo ?? 0);
    default:
      // Not known here: what it grants is not counted as granted.
      return false;
  }
}

/** Arguments worth trying: zeroes, and what lies at and around the limits that the rules name. */
function* candidates(rules: OciSyscallRule[], isNarrow: boolean): Generator<readonly bigint[]> {
  yield noArguments;
  const width = isNarrow ? 32n : 64n;
  for (const { index, value, valueTwo } of rules.flatMap((rule) => rule.args ?? [])) {
    const limit = BigInt(value);
    const tried = [limit, limit + 1n, limit - 1n, BigInt(valueTwo ?? 0), limit | (1n << 40n)];
    for (let bit = 0n; bit < width; bit += 1n) tried.push(limit & (1n << bit));
    for (const arg of new Set(tried)) {
      if (arg >= 0n && arg < 1n << width) yield noArguments.with(index, arg);
    }
  }
}
