// Making elements: data goes in as text or as a property, never as HTML.

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string|number|boolean|null|undefined>} [attributes]  null, undefined and false leave one out
 * @param {...(Node|string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(...children);
  return element;
}

/**
 * Make an SVG element.
 * @param {string} tag
 * @param {Record<string, string|number>} attributes
 * @returns {SVGElement}
 */
export function makeSvg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/**
 * Set, or with null, undefined and false remove, an attribute.
 * @param {Element} element
 * @param {string} name
 * @param {string|number|boolean|null|undefined} value
 */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : String(value));
}

/**
 * Change an element's text only if it differs, so that a selection in it and a screen reader's place survive a tick.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Change an element's text where it differs; what stands between backquotes is set as code.
 * @param {Element} element
 * @param {string} text
 */
export function setMarked(element, text) {
  if (element.textContent === text.replaceAll("`", "")) return;
  element.replaceChildren(...text.split("`").map((part, number) => (number % 2 ? make("code", {}, part) : part)));
}

/**
 * Find an element that the page cannot do without.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element;
}

/**
 * Listen until the returned function is called.
 * @param {EventTarget} target
 * @param {string} type
 * @param {(event: any) => void} handle
 * @returns {() => void}
 */
export function listen(target, type, handle) {
  target.addEventListener(type, handle);
  return () => target.removeEventListener(type, handle);
}
