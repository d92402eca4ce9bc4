import * as assert from "uvu/assert";
import { holdMark, type Ruleset, renderRuleset } from "../../../src/network/ruleset.js";
import { suite } from "../../lib/suite.js";

const test = suite("nft ruleset");
const network = { address: "10.209.0.2", bridge: "br-svc", outerAddress: "10.88.0.2" };
const bare: Ruleset = { network, inlets: [] };

test("keeps what is held across any change", () => {
  for (const set of ["held", "muted", "relayed"]) {
    assert.not.match(renderRuleset(bare), new RegExp(`(flush|delete) set ip ums ${set}`));
  }
  assert.match(renderRuleset(bare), new RegExp(`@held meta mark set ${holdMark}`));
  assert.match(renderRuleset(bare), /ip saddr @muted drop/);
});

test("publishes nothing unless asked to", () => {
  assert.not.match(renderRuleset(bare), /dnat to/);
});

test("publishes all but the excluded ports, and inside only the listed ones", () => {
  const text = renderRuleset({
    ...bare,
    publish: {
      excluded: [
        { protocol: "tcp", port: 9750 },
        { protocol: "tcp", port: 9751 },
      ],
      local: [{ protocol: "udp", port: 53 }],
      ignoredInterfaces: ["docker0"],
    },
  });
  assert.match(text, /l4proto tcp th dport != { 9750, 9751 } dnat to 10\.209\.0\.2\n/);
  assert.match(text, /fib daddr type local meta l4proto udp dnat to 10\.209\.0\.2\n/);
  assert.match(text, /iifname != { "lo", "br-svc", "docker0" }/);
  assert.match(text, /publish_local fib daddr type local udp dport { 53 } dnat/);
  assert.not.match(text, /publish_local fib daddr type local tcp/);
});

test("asks the map of fronted ports before a new connection goes to the service", () => {
  const publish = { excluded: [], local: [], ignoredInterfaces: ["docker0"] };
  const text = renderRuleset({ ...bare, publish });
  const fronted = text.indexOf("redirect to :tcp dport map @fronted");
  assert.ok(fronted > 0 && fronted < text.indexOf("dnat to 10.209.0.2"));
  assert.not.match(text, /flush map ip ums fronted/);
});

test("leaves the flows in the kernel alone until they are given", () => {
  const inlet = { device: "ums-in1", mark: holdMark + 1 };
  assert.not.match(renderRuleset({ ...bare, inlets: [inlet] }), /flush map/);
  const flow = {
    protocol: "tcp",
    remoteAddress: "192.0.2.1",
    remotePort: 5001,
    servicePort: 80,
  } as const;
  const text = renderRuleset({ ...bare, inlets: [{ ...inlet, flows: [flow] }] });
  assert.match(text, /flush map ip ums flow_marks\nadd element/);
  assert.match(text, new RegExp(`{ tcp \\. 192\\.0\\.2\\.1 \\. 5001 \\. 80 : ${holdMark + 1} }`));
});

test("names a flow once when two inlets claim it, or nft would refuse all", () => {
  const flows = [
    { protocol: "udp", remoteAddress: "192.0.2.1", remotePort: 1, servicePort: 2 } as const,
  ];
  const inlets = [1, 2].map((index) => ({
    device: `ums-in${index}`,
    mark: holdMark + index,
    flows,
  }));
  const text = renderRuleset({ ...bare, inlets });
  assert.is(text.split("udp . 192.0.2.1").length, 2);
});

test.run();
