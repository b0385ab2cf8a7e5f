// Around every page: what goes wrong in one is told here, below the root, whose loader then runs all the same.

import { Form, isRouteErrorResponse, Link, Outlet, useLocation, useRouteError, useRouteLoaderData } from "@remix-run/react";

import { CsrfField, pageOf, useSay } from "~/components/common";
import type { loader } from "~/root";

export default function Frame() {
  return <Outlet />;
}

// The statuses that words.toml has sentences for; what is not listed is told in general words.
const TOLD = [400, 401, 403, 404, 409, 422, 500, 503, 504];

export function ErrorBoundary() {
  const error = useRouteError();
  const data = useRouteLoaderData<typeof loader>("root");
  const say = useSay();
  const here = pageOf(useLocation().pathname);
  const status = isRouteErrorResponse(error) ? error.status : 500;
  const told = TOLD.includes(status) ? status : status >= 500 ? 500 : 400;
  return (
    <section className="narrow error">
      <p className="code" aria-hidden="true">
        {status}
      </p>
      <h1>{say(`error-title-${told}`)}</h1>
      <p className="lead">{say(`error-do-${told}`)}</p>
      {data?.requestId && (
        <dl className="id">
          <dt>{say("error-id")}</dt>
          <dd>
            <code>{data.requestId}</code>
          </dd>
        </dl>
      )}
      {status === 401 ? (
        <Form className="actions" method="post" action="/sign-in" reloadDocument>
          <CsrfField />
          <input type="hidden" name="back" value={here} />
          <button className="button">{say("error-sign-in")}</button>
        </Form>
      ) : (
        <p className="actions">
          <Link className="button" to="/">
            {say("error-home")}
          </Link>
        </p>
      )}
    </section>
  );
}
