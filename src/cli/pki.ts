/** `ums pki`: makes the certificates by which outer containers know each other. */
import type { Command } from "commander";
import { UmsError } from "../errors.js";
import { initAuthority, issueCertificate } from "../peer/pki.js";
import type { PeerRole } from "../transfer/security.js";

interface IssueFlags {
  dir: string;
  out: string;
  operator?: true;
  observer?: true;
  days?: number;
  san?: string[];
}

/** Adds `pki init` and `pki issue`. Errors (ERR_PKI) are thrown to the program's own handler. */
export function registerPki(program: Command): void {
  const pki = program.command("pki").description("make the certificates peers trust");

  pki
    .command("init")
    .description("make a certificate authority: ca.crt and ca.key")
    .requiredOption("--dir <directory>", "where the authority is kept; keep ca.key off the nodes")
    .action(async ({ dir }: { dir: string }) => {
      await initAuthority(dir);
      process.stdout.write(`${dir}/ca.crt\n${dir}/ca.key\n`);
    });

  pki
    .command("issue")
    .description("issue a certificate: ca.crt, tls.crt and tls.key for one outer container")
    .argument("<name>", "name of the peer, used in allow-lists and logs")
    .requiredOption("--dir <directory>", "the authority's directory")
    .requiredOption("--out <directory>", "where the three files go")
    .option("--operator", "for a person or tool that gives orders, not for an outer container")
    .option("--observer", "for a person or tool that may look at the status, and no more")
    .option("--days <number>", "validity, 1 to 3650 days", parseDays)
    .option("--san <name...>", "more host names or IP addresses in the certificate")
    .action(async (name: string, flags: IssueFlags) => {
      await issueCertificate({
        directory: flags.dir,
        name,
        out: flags.out,
        role: roleOf(flags),
        ...(flags.days === undefined ? {} : { days: flags.days }),
        ...(flags.san === undefined ? {} : { sans: flags.san }),
      });
      process.stdout.write(`${flags.out}/ca.crt\n${flags.out}/tls.crt\n${flags.out}/tls.key\n`);
    });
}

function parseDays(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new UmsError("ERR_PKI", `"${text}" is not a number of days`);
  return Number(text);
}

function roleOf({ operator, observer }: IssueFlags): PeerRole {
  if (operator === true && observer === true) {
    throw new UmsError("ERR_PKI", "a certificate has one role: --operator or --observer");
  }
  if (operator === true) return "operator";
  return observer === true ? "observer" : "peer";
}
