/**
 * Appends records to the journal named by its argument as fast as it can, and prints the number of
 * each one that is acknowledged. To be killed.
 */
import { openJournal } from "../../src/migration/journal.js";

const journal = await openJournal(process.argv[2] ?? "");
// A pipe's writes are synchronous here: what is printed was acknowledged before the kill.
for (let epoch = (journal.last?.seq ?? 0) + 1; ; epoch += 1) {
  const filling = "x".repeat(epoch % 700);
  const state = { phase: "ACTIVE", epoch, issuedEpoch: epoch, reason: filling } as const;
  await journal.append({ role: "source", state });
  process.stdout.write(`${epoch}\n`);
}
