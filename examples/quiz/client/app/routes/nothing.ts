import { data } from "react-router";

/** For every address that no other route has. */
export function loader() {
  throw data(null, 404);
}

export { FormsOnly as default } from "~/components/common";
