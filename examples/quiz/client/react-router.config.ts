import type { Config } from "@react-router/dev/config";

export default {
  // The root middleware covers what this check covers, resource routes as well, and it knows the public origin: behind a
  // TLS proxy this one refuses every form. `dodai check csrf` refuses the line where no such middleware is.
  allowedActionOrigins: ["**"],
} satisfies Config;
