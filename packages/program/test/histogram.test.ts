import { test } from "@adit/harness";
import { renderMetrics } from "../src/admin.ts";
import { Histogram } from "../src/histogram.ts";

test("a histogram's buckets are cumulative, with a sum and a count", (t) => {
  const histogram = new Histogram([0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 7]) histogram.add(value);
  t.equal(
    renderMetrics([histogram.metric("x_seconds", "Some time.")]),
    [
      "# HELP x_seconds Some time.",
      "# TYPE x_seconds histogram",
      'x_seconds_bucket{le="0.1"} 2',
      'x_seconds_bucket{le="1"} 3',
      'x_seconds_bucket{le="+Inf"} 4',
      "x_seconds_sum 7.65",
      "x_seconds_count 4",
      "",
    ].join("\n"),
  );
});
