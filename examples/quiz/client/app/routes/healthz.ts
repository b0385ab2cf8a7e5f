/** Alive: nothing else is asked, so that a dependency in trouble never gets this process restarted. */
export function loader() {
  return new Response("ok\n");
}
