/** The three C library calls that Node has no API for. The only place that uses koffi. */
import koffi from "koffi";
import { UmsError } from "../errors.js";

export interface Libc {
  /** man 2 ioctl with a buffer that the kernel may read and write. */
  ioctl(fd: number, request: number, argument: Buffer): void;
  /** man 2 pipe2 with O_CLOEXEC and O_NONBLOCK: [read end, write end]. */
  pipe(): [number, number];
  /** man 2 dup3 with O_CLOEXEC: `target` becomes another descriptor of what `source` is open on. */
  duplicate(source: number, target: number): void;
}

const closeOnExec = 0o2000000;
const nonBlocking = 0o4000;

/** Loads the C library. @throws ERR_NETWORK_SETUP from its functions, with the errno's name. */
export function loadLibc(): Libc {
  const library = koffi.load("libc.so.6");
  const ioctl = library.func("int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)");
  const pipe2 = library.func("int pipe2(_Out_ int *ends, int flags)");
  const dup3 = library.func("int dup3(int source, int target, int flags)");
  return {
    ioctl: (fd, request, argument) => check("ioctl", ioctl(fd, request, argument)),
    pipe: () => {
      const ends: [number, number] = [-1, -1];
      check("pipe2", pipe2(ends, closeOnExec | nonBlocking));
      return ends;
    },
    duplicate: (source, target) => check("dup3", dup3(source, target, closeOnExec)),
  };
}

function check(call: string, result: number): void {
  if (result >= 0) return;
  const errno = koffi.errno();
  const names = Object.entries(koffi.os.errno).find(([, value]) => value === errno);
  throw new UmsError("ERR_NETWORK_SETUP", `${call} failed: ${names?.[0] ?? `errno ${errno}`}`, {
    details: { call, errno },
  });
}
