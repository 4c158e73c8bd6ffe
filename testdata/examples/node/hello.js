'use strict';

const words = { en: 'hello', de: 'hallo', fr: 'bonjour' };

exports.greeting = (lang) => {
  if (!Object.hasOwn(words, lang)) throw new RangeError(`no greeting in ${lang}`);
  return words[lang];
};
