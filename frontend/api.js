// Asking the service, and telling apart its three ways to fail: away, refused, wrong question.

/** An answer that was not the wished one; status 0 when none came. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** No answer, or one that only says the service is not up yet. */
  get isAway() {
    return this.status === 0 || this.status >= 502;
  }

  /** The browser's cookie is missing or no longer good. */
  get isRefused() {
    return this.status === 401 || this.status === 403;
  }
}

const TIMEOUT_MS = 15_000; // longer than any answer over a healthy link; then the next ask tries anew

/**
 * Get JSON from the API.
 * @template T
 * @param {string} path            under /api/v1
 * @param {URLSearchParams} [query]
 * @returns {Promise<T>}
 * @throws {ApiError}
 */
export function getJson(path, query) {
  return ask(`${path}${query ? `?${query}` : ""}`, {});
}

/**
 * Ask the API to change something, and return what it answers.
 * @template T
 * @param {"PATCH"|"POST"|"DELETE"} method
 * @param {string} path            under /api/v1
 * @param {object} [body]
 * @returns {Promise<T>}
 * @throws {ApiError}
 */
export function sendJson(method, path, body) {
  return ask(path, { method, ...(body && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }) });
}

/**
 * @param {string} path
 * @param {RequestInit} how
 * @returns {Promise<any>}
 */
async function ask(path, how) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(`/api/v1${path}`, { ...how, signal: AbortSignal.timeout(TIMEOUT_MS), headers: { Accept: "application/json", ...how.headers } });
  } catch {
    throw new ApiError(0, "The service does not answer.");
  }
  if (response.ok) return readBody(response);
  throw new ApiError(response.status, await readDetail(response));
}

/**
 * @param {Response} response
 * @returns {Promise<any>}
 */
async function readBody(response) {
  try {
    return await response.json();
  } catch {
    throw new ApiError(0, "The answer broke off.");
  }
}

/**
 * @param {Response} response
 * @returns {Promise<string>}
 */
async function readDetail(response) {
  try {
    const problem = await response.json();
    return String(problem.detail ?? problem.title ?? response.statusText);
  } catch {
    return `The service answered ${response.status}.`; // not our own body: a proxy's page, which nobody can read here
  }
}
