// Built by the tests of builds, never started.
export const title = "shop";
