// The texts of scripts in the language of the page: `_("%(age)s ago", { age })`, `ngettext(one, many, num)`. The
// page names their catalogue; without one they are English, as they stand in the scripts.

const { texts, forms } = await read(document.documentElement.dataset.texts);

async function read(address) {
  const none = { texts: {}, forms: [] };
  if (!address) return none;
  try {
    const answer = await fetch(address);
    return answer.ok ? await answer.json() : none;
  } catch (error) {
    console.info("no texts of this language:", error.message);
    return none;
  }
}

export function _(text, places = {}) {
  return filled(texts[text] ?? text, places);
}

/** In the form that `num` wants: of a large number its last two digits say which. */
export function ngettext(one, many, num, places = {}) {
  const form = forms[num < forms.length ? num : 100 + (num % 100)];
  return filled(texts[one]?.[form] || (num === 1 ? one : many), { num, ...places });
}

export const N_ = (text) => text;

function filled(text, places) {
  return text.replace(/%\((\w+)\)[a-z]|%%/g, (mark, name) => (name ? places[name] : "%"));
}
