/** In the order of their bits, linux/capability.h. */
const names = [
  ..."CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP".split(" "),
  ..."LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK".split(" "),
  ..."IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN".split(" "),
  ..."SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE".split(" "),
  ..."AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM".split(" "),
  ..."BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE".split(" "),
];

/** A set of capabilities as CRIU has it: 32-bit words, the lowest first. */
export type CapabilityWords = readonly number[];

/** @param given as OCI has them, e.g. `CAP_CHOWN`; unknown ones grant nothing */
export function capabilityWords(given: readonly string[]): number[] {
  const words = [0, 0];
  for (const capability of given) {
    const bit = names.indexOf(capability.replace(/^CAP_/, ""));
    if (bit === -1) continue;
    const word = Math.floor(bit / 32);
    words[word] = ((words[word] ?? 0) | (1 << (bit % 32))) >>> 0;
  }
  return words;
}

/** Names in `set` that `limit` does not have. */
export function capabilitiesBeyond(set: CapabilityWords, limit: CapabilityWords): string[] {
  const beyond: string[] = [];
  set.forEach((word, index) => {
    const surplus = (word & ~(limit[index] ?? 0)) >>> 0;
    for (let bit = 0; bit < 32; bit += 1) {
      if (((surplus >>> bit) & 1) === 0) continue;
      const number = index * 32 + bit;
      beyond.push(names[number] ?? `capability ${number}`);
    }
  });
  return beyond;
}

export function hasCapability(set: CapabilityWords, name: string): boolean {
  const bit = names.indexOf(name);
  return (((set[Math.floor(bit / 32)] ?? 0) >>> (bit % 32)) & 1) === 1;
}
