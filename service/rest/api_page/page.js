"use strict";

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

window.SwaggerUIBundle({
  dom_id: "#api",
  url: "openapi.json",
  // It would send the document to somebody who validates it.
  validatorUrl: null,
  // A key that was given in the page is gone when the page is.
  persistAuthorization: false,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  // What the document's address or a link to this page says about these settings does not count.
  queryConfigEnabled: false,
});
