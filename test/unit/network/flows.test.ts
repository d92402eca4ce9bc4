import * as assert from "uvu/assert";
import { parseConntrack, parseFlowMarks } from "../../../src/network/flows.js";
import { suite } from "../../lib/suite.js";

const test = suite("flows from conntrack");
const address = "10.209.0.2";

test("are seen from the service, whoever began them", () => {
  const table = `
tcp      6 431999 ESTABLISHED src=10.88.0.1 dst=10.88.0.2 sport=5001 dport=80 src=10.209.0.2 dst=10.88.0.1 sport=80 dport=5001 [ASSURED] mark=0 use=1
tcp      6 300 ESTABLISHED src=10.209.0.2 dst=10.88.0.9 sport=40000 dport=5432 src=10.88.0.9 dst=10.88.0.2 sport=5432 dport=40000 [ASSURED] mark=0 use=1
tcp      6 110 SYN_SENT src=10.88.0.1 dst=10.209.0.2 sport=5002 dport=80 [UNREPLIED] src=10.209.0.2 dst=10.88.0.1 sport=80 dport=5002 mark=1970107137 use=1
udp      17 29 src=10.88.0.1 dst=10.88.0.2 sport=4000 dport=8053 src=10.209.0.2 dst=10.88.0.1 sport=53 dport=4000 mark=0 use=1
`;
  assert.equal(parseConntrack(table, address), [
    { protocol: "tcp", remoteAddress: "10.88.0.1", remotePort: 5001, servicePort: 80 },
    { protocol: "tcp", remoteAddress: "10.88.0.9", remotePort: 5432, servicePort: 40000 },
    { protocol: "tcp", remoteAddress: "10.88.0.1", remotePort: 5002, servicePort: 80 },
    { protocol: "udp", remoteAddress: "10.88.0.1", remotePort: 4000, servicePort: 53 },
  ]);
});

test("leave out what is finished, other protocols and other addresses", () => {
  const table = `
tcp      6 100 TIME_WAIT src=10.88.0.1 dst=10.88.0.2 sport=5001 dport=80 src=10.209.0.2 dst=10.88.0.1 sport=80 dport=5001 [ASSURED] mark=0 use=1
tcp      6 9 CLOSE src=10.88.0.1 dst=10.88.0.2 sport=5003 dport=80 src=10.209.0.2 dst=10.88.0.1 sport=80 dport=5003 [ASSURED] mark=0 use=1
icmp     1 29 src=10.88.0.1 dst=10.209.0.2 type=8 code=0 id=5 src=10.209.0.2 dst=10.88.0.1 type=0 code=0 id=5 mark=0 use=1
tcp      6 431999 ESTABLISHED src=10.88.0.1 dst=10.88.0.2 sport=6000 dport=9750 src=10.88.0.2 dst=10.88.0.1 sport=9750 dport=6000 [ASSURED] mark=0 use=1
tcp      6 431999 ESTABLISHED src=10.88.0.1 dst=10.88.0.2 sport=6000 dport=80 src=10.209.0.20 dst=10.88.0.1 sport=80 dport=6000 [ASSURED] mark=0 use=1
conntrack v1.4.7 (conntrack-tools): 5 flow entries have been shown.
`;
  assert.equal(parseConntrack(table, address), []);
});

test("leave out what has come by one tunnel", () => {
  const flow = (port: number, mark: number) =>
    `tcp      6 300 ESTABLISHED src=10.88.0.1 dst=10.209.0.2 sport=${port} dport=80 src=10.209.0.2 dst=10.88.0.1 sport=80 dport=${port} [ASSURED] mark=${mark} use=1`;
  const table = [flow(5001, 19), flow(5002, 1), flow(5003, 0)].join("\n");
  const ports = (exceptMark?: number) =>
    parseConntrack(table, address, exceptMark).map(({ remotePort }) => remotePort);
  assert.equal(ports(), [5001, 5002, 5003]);
  assert.equal(ports(1), [5001, 5003]);
});

test("come from what the service has brought, too", () => {
  const elem = [
    [{ concat: ["tcp", "10.88.0.1", 5001, 80] }, 18],
    [{ concat: ["udp", "10.88.0.1", 5002, 53] }, 1],
  ];
  const json = JSON.stringify({
    nftables: [{ metainfo: {} }, { map: { name: "flow_marks", elem } }],
  });
  assert.is(parseFlowMarks(json).length, 2);
  assert.equal(parseFlowMarks(json, 18), [
    { protocol: "udp", remoteAddress: "10.88.0.1", remotePort: 5002, servicePort: 53 },
  ]);
  assert.equal(parseFlowMarks(JSON.stringify({ nftables: [{ map: {} }] })), []);
});

test("keep a connection that one side has begun to close", () => {
  const line =
    "tcp      6 60 CLOSE_WAIT src=10.88.0.1 dst=10.88.0.2 sport=5001 dport=80 src=10.209.0.2 dst=10.88.0.1 sport=80 dport=5001 [ASSURED] mark=0 use=1";
  assert.is(parseConntrack(line, address).length, 1);
});

test.run();
