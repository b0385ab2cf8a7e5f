import { requestId } from "@dodai/remix/observability.server";
import type { ReactNode } from "react";
import {
  Form,
  isRouteErrorResponse,
  Link,
  Links,
  Meta,
  NavLink,
  Outlet,
  Scripts,
  ScrollRestoration,
  useLocation,
  useRouteLoaderData,
} from "react-router";

import type { Route } from "./+types/root";
import { CsrfField, useSay } from "~/components/common";
import { csrf } from "~/services/csrf.server";
import { headers } from "~/services/headers.server";
import { known, visitorOf } from "~/services/session.server";
import { langOf, wordsIn } from "~/services/words.server";

// Before every action and loader, those of resource routes too: the token, the headers, and who is asking.
export const middleware = [csrf.middleware, headers, known];

export async function loader({ request, context }: Route.LoaderArgs) {
  const lang = langOf(request);
  return { lang, words: wordsIn(lang), visitor: visitorOf(context), csrf: await csrf.field(), requestId: requestId() };
}

export function Layout({ children }: { children: ReactNode }) {
  const data = useRouteLoaderData<typeof loader>("root");
  const say = useSay();
  const here = pageOf(useLocation().pathname);
  const other = data?.lang === "ja" ? "en" : "ja";
  return (
    <html lang={data?.lang ?? "en"}>
      <head>
        <meta charSet="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <link rel="icon" href="/static/mark.svg" type="image/svg+xml" />
        <link rel="stylesheet" href="/static/quiz.css" />
        <Meta />
        <Links />
      </head>
      <body>
        <a className="skip" href="#content">
          {say("skip")}
        </a>
        <header className="top">
          <div className="wide">
            <Link className="brand" to="/">
              <img src="/static/mark.svg" alt="" width="28" height="28" />
              {say("brand")}
            </Link>
            <nav aria-label={say("main-nav")}>
              <NavLink to="/" end>
                {say("nav-questions")}
              </NavLink>{" "}
              <NavLink to="/questions/new">{say("nav-write")}</NavLink> <NavLink to="/me">{say("nav-me")}</NavLink>
            </nav>
            <div className="corner">
              <Form className="plain" method="post" action="/language" reloadDocument>
                <CsrfField />
                <input type="hidden" name="back" value={here} />
                <button className="quiet" name="lang" value={other} lang={other}>
                  {say("switch-lang")}
                </button>
              </Form>
              {data?.visitor ? (
                <Form className="plain" method="post" action="/sign-out" reloadDocument>
                  <CsrfField />
                  <button className="quiet">{say("sign-out")}</button>
                </Form>
              ) : (
                <Form className="plain" method="post" action="/sign-in" reloadDocument>
                  <CsrfField />
                  <input type="hidden" name="back" value={here} />
                  <button className="quiet strong">{say("sign-in")}</button>
                </Form>
              )}
            </div>
          </div>
        </header>
        <main id="content" tabIndex={-1}>
          {children}
        </main>
        <footer>
          <p className="wide">{say("footer")}</p>
        </footer>
        <ScrollRestoration />
        <Scripts />
      </body>
    </html>
  );
}

export default function App() {
  return <Outlet />;
}

// The statuses that words.toml has sentences for; what is not listed is told in general words.
const TOLD = [400, 401, 403, 404, 409, 422, 500, 503, 504];

export function ErrorBoundary({ error }: Route.ErrorBoundaryProps) {
  const data = useRouteLoaderData<typeof loader>("root");
  const say = useSay();
  const here = pageOf(useLocation().pathname);
  const status = isRouteErrorResponse(error) ? error.status : 500;
  const told = TOLD.includes(status) ? status : status >= 500 ? 500 : 400;
  return (
    <section className="narrow error">
      <title>{`${say(`error-title-${told}`)} – ${say("brand")}`}</title>
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
          <button className="button">{say("error-sign-in")}</button>{" "}
          <Link className="quiet" to="/">
            {say("error-home")}
          </Link>
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

/** The page to come back to: an address that only takes forms leads to the page its form stands on. */
function pageOf(path: string): string {
  if (path === "/questions" || path === "/questions/preview") return "/questions/new";
  return path.replace(/\/(?:answer|report)$/, "");
}
