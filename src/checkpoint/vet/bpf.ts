/**
 * Classic BPF as seccomp runs it (man 2 seccomp, linux/filter.h, the kernel's seccomp_check_filter):
 * what a filter says about one system call.
 */

export interface SyscallData {
  number: number;
  /** AUDIT_ARCH_*, linux/audit.h. */
  arch: number;
  /** Six arguments, 64 bits each. */
  args: readonly bigint[];
}

/** Instructions of a filter: u16 code, u8 jt, u8 jf, u32 k. */
export type Program = Uint32Array;

const wordsPerInstruction = 4;
const dataBytes = 64;
const scratchWords = 16;
const operation = { add: 0x00, sub: 0x10, mul: 0x20, div: 0x30, or: 0x40, and: 0x50 } as const;

/** @returns undefined when the bytes are no program */
export function parseProgram(bytes: Buffer): Program | undefined {
  if (bytes.length === 0 || bytes.length % 8 !== 0 || bytes.length > 4096 * 8) return undefined;
  const program = new Uint32Array((bytes.length / 8) * wordsPerInstruction);
  for (let index = 0; index * 8 < bytes.length; index += 1) {
    program[index * 4] = bytes.readUInt16LE(index * 8);
    program[index * 4 + 1] = bytes.readUInt8(index * 8 + 2);
    program[index * 4 + 2] = bytes.readUInt8(index * 8 + 3);
    program[index * 4 + 3] = bytes.readUInt32LE(index * 8 + 4);
  }
  return program;
}

/** struct seccomp_data: nr, arch, instruction pointer, arguments. */
export function encodeData(data: SyscallData): DataView {
  const view = new DataView(new ArrayBuffer(dataBytes));
  view.setUint32(0, data.number, true);
  view.setUint32(4, data.arch, true);
  data.args.forEach((arg, index) => {
    view.setBigUint64(16 + 8 * index, arg, true);
  });
  return view;
}

/**
 * The action a program returns, SECCOMP_RET_*; undefined for an instruction that the kernel would
 * not have loaded. Jumps only go forward, so it ends.
 */
export function runProgram(program: Program, data: DataView): number | undefined {
  const scratch = new Uint32Array(scratchWords);
  let a = 0;
  let x = 0;
  for (let at = 0; at < program.length; at += wordsPerInstruction) {
    const code = program[at] ?? 0;
    const k = program[at + 3] ?? 0;
    const isX = (code & 0x08) !== 0;
    switch (code & 0x07) {
      case 0x00: {
        const loaded = load(code, k, data, scratch);
        if (loaded === undefined) return undefined;
        a = loaded;
        break;
      }
      case 0x01: {
        const loaded = load(code, k, data, scratch);
        if (loaded === undefined) return undefined;
        x = loaded;
        break;
      }
      case 0x02:
      case 0x03:
        if (k >= scratchWords) return undefined;
        scratch[k] = (code & 0x07) === 0x02 ? a : x;
        break;
      case 0x04: {
        const result = compute(code & 0xf0, a, isX ? x : k);
        if (result === undefined) return undefined;
        a = result;
        break;
      }
      case 0x05: {
        const taken = jump(code & 0xf0, a, isX ? x : k);
        if (taken === undefined) return undefined;
        const distance = taken === "always" ? k : (program[at + (taken ? 1 : 2)] ?? 0);
        at += distance * wordsPerInstruction;
        break;
      }
      case 0x06:
        return (code & 0x18) === 0x10 ? a : k;
      default:
        if ((code & 0xf8) === 0x80) a = x;
        else x = a;
    }
  }
  return undefined;
}

function load(code: number, k: number, data: DataView, scratch: Uint32Array): number | undefined {
  switch (code & 0xe0) {
    case 0x00:
      return k;
    case 0x20:
      return k % 4 === 0 && k + 4 <= dataBytes ? data.getUint32(k, true) : undefined;
    case 0x60:
      return scratch[k];
    case 0x80:
      return dataBytes;
    default:
      return undefined;
  }
}

function compute(kind: number, a: number, operand: number): number | undefined {
  switch (kind) {
    case operation.add:
      return (a + operand) >>> 0;
    case operation.sub:
      return (a - operand) >>> 0;
    case operation.mul:
      return Math.imul(a, operand) >>> 0;
    case operation.div:
      return operand === 0 ? 0 : Math.floor(a / operand);
    case operation.or:
      return (a | operand) >>> 0;
    case operation.and:
      return (a & operand) >>> 0;
    case 0x60:
      return operand > 31 ? undefined : (a << operand) >>> 0;
    case 0x70:
      return operand > 31 ? undefined : a >>> operand;
    case 0x80:
      return -a >>> 0;
    case 0xa0:
      return (a ^ operand) >>> 0;
    default:
      return undefined;
  }
}

function jump(kind: number, a: number, operand: number): boolean | "always" | undefined {
  switch (kind) {
    case 0x00:
      return "always";
    case 0x10:
      return a === operand;
    case 0x20:
      return a > operand;
    case 0x30:
      return a >= operand;
    case 0x40:
      return (a & operand) >>> 0 !== 0;
    default:
      return undefined;
  }
}
