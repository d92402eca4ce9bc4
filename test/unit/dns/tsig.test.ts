/**
 * RFC 8945 has no test vectors. These bytes are an exchange of `dig -y` and named of BIND 9.18,
 * recorded on the wire: a request that is signed and an answer that is.
 */
import * as assert from "uvu/assert";
import { sign, type TsigKey, verify } from "../../../src/dns/tsig.js";
import { encodeUpdate } from "../../../src/dns/wire.js";
import { rejectsWith, throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const key: TsigKey = {
  name: "ums-key",
  algorithm: "hmac-sha256",
  secret: Buffer.from("BsDWNn1/HMqnmmZX4LqaCXKgLG8JM+wNHDCP7JJy3t0=", "base64"),
};
const signedAt = 1_795_362_391;

const question = "7172012000010000000000ARCOUNT026e7303737663076578616d706c650000010001";
const tsigHead =
  "07756d732d6b65790000fa00ff00000000003d0b686d61632d7368613235360000006b030e57012c0020";
const requestMac = "cf2f752b0e59d0c1bf7d389283a49a5f6590517cd3ba437d934cf357d5666c3d";
const answerMac = "3e5f06f9669d270e2cae2d5cfb4dd328c75f95dcf8e0259809b518f5d1d1a92a";
const tail = "717200000000";
const bareRequest = hex(question.replace("ARCOUNT", "00"));
const request = hex(`${question.replace("ARCOUNT", "01")}${tsigHead}${requestMac}${tail}`);
const bareAnswer =
  "717285000001000100000000026e7303737663076578616d706c650000010001" +
  "c00c000100010000012c00047f000001";
const answer = hex(
  `${bareAnswer.slice(0, 22)}01${bareAnswer.slice(24)}${tsigHead}${answerMac}${tail}`,
);

const test = suite("TSIG");

test("signs as dig does", () => {
  const signed = sign(Buffer.from(bareRequest), key, signedAt);
  assert.is(signed.message.toString("hex"), request.toString("hex"));
  assert.is(signed.mac.toString("hex"), requestMac);
});

test("takes dig's signature and BIND's, and gives the message without it", () => {
  const bare = verify(Buffer.from(request), key, undefined, signedAt);
  assert.is(bare.toString("hex"), bareRequest.toString("hex"));
  assert.is(verifyAnswer(answer).toString("hex"), bareAnswer);
});

test("the case of a key's name does not matter, nor a dot at its end", () => {
  const other = { ...key, name: "UMS-Key." };
  assert.is(verify(answer, other, hex(requestMac), signedAt).length, bareAnswer.length / 2);
});

test("no byte of an answer can be changed", () => {
  for (let index = 0; index < answer.length; index += 1) {
    const tampered = Buffer.from(answer);
    tampered.writeUInt8(tampered.readUInt8(index) ^ 0x04, index);
    let isTaken = false;
    try {
      verifyAnswer(tampered);
      isTaken = true;
    } catch {
      // Refused, or not a message any more.
    }
    // The id of the message is not signed: it is the question's, and compared by the exchange.
    // Nor are the signature record's own name, class and TTL read: the key's are signed.
    assert.is(isTaken, [0, 1].includes(index) || isUnread(index), `byte ${index}`);
  }
});

test("another key, and another question's answer, are refused", () => {
  const wrong = { ...key, secret: Buffer.alloc(32, 1) };
  const reasons = [
    throwsWith("ERR_DNS_REFUSED", () => verify(answer, wrong, hex(requestMac), signedAt)),
    throwsWith("ERR_DNS_REFUSED", () => verify(answer, key, Buffer.alloc(32), signedAt)),
    throwsWith("ERR_DNS_REFUSED", () =>
      verify(answer, { ...key, algorithm: "hmac-sha512" }, hex(requestMac), signedAt),
    ),
    throwsWith("ERR_DNS_REFUSED", () =>
      verify(answer, { ...key, name: "other-key" }, hex(requestMac), signedAt),
    ),
  ].map(({ details }) => details["reason"]);
  assert.equal(reasons, ["FORGED", "FORGED", "FORGED", "FORGED"]);
});

test("an answer without a signature is refused", () => {
  const error = throwsWith("ERR_DNS_REFUSED", () => verifyAnswer(hex(bareAnswer)));
  assert.is(error.details["reason"], "UNSIGNED");
});

test("a shortened signature is refused", () => {
  const short = hex(
    `${bareAnswer.slice(0, 22)}01${bareAnswer.slice(24)}` +
      `${tsigHead.replace("003d0b", "002d0b").replace(/0020$/, "0010")}${answerMac.slice(0, 32)}${tail}`,
  );
  assert.is(throwsWith("ERR_DNS_REFUSED", () => verifyAnswer(short)).details["reason"], "FORGED");
});

test("an old answer is refused, within five minutes it is taken", () => {
  verify(answer, key, hex(requestMac), signedAt + 300);
  for (const now of [signedAt + 301, signedAt - 301]) {
    const error = throwsWith("ERR_DNS_REFUSED", () => verify(answer, key, hex(requestMac), now));
    assert.is(error.details["reason"], "STALE");
  }
});

test("what the server complains of is told", () => {
  for (const [code, reason] of [
    ["0010", "BADSIG"],
    ["0011", "BADKEY"],
  ]) {
    // As BIND answers: no signature at all.
    const unsigned = hex(
      `${bareAnswer.slice(0, 22)}01${bareAnswer.slice(24)}` +
        `${tsigHead.replace("003d0b", "001d0b").replace(/0020$/, "0000")}7172${code}0000`,
    );
    const error = throwsWith("ERR_DNS_REFUSED", () => verifyAnswer(unsigned));
    assert.is(error.details["reason"], reason);
  }
});

test("messages that are cut off are no answers", async () => {
  for (const length of [0, 11, 30, answer.length - 1]) {
    const cut = answer.subarray(0, length);
    const thrown = await Promise.resolve()
      .then(() => verifyAnswer(cut))
      .catch((error: unknown) => error);
    assert.instance(thrown, RangeError, `${length} bytes`);
  }
});

test("names that DNS cannot hold are refused before anything is sent", async () => {
  for (const zone of ["a..b", `${"x".repeat(64)}.example`, "a b.example", "é.example"]) {
    const empty = { id: 1, expected: [], wanted: [], ttlSeconds: 1 };
    await rejectsWith(
      "ERR_CONFIG_INVALID",
      Promise.resolve().then(() => encodeUpdate({ ...empty, zone })),
    );
  }
});

function verifyAnswer(message: Buffer): Buffer {
  return verify(message, key, hex(requestMac), signedAt);
}

/** Name, class and TTL of the signature record itself, but for what ends or lengthens the name. */
function isUnread(index: number): boolean {
  const start = bareAnswer.length / 2;
  const isLabel = index > start && index <= start + 7;
  return isLabel || (index >= start + 11 && index < start + 17);
}

function hex(text: string): Buffer {
  return Buffer.from(text, "hex");
}

test.run();
