'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const { greeting } = require('./hello.js');

const want = { en: 'hello', de: 'hallo', fr: 'bonjour' };
const lang = process.env.HELLO_LANG || 'en';

test(`greets in ${lang}`, () => assert.equal(greeting(lang), want[lang]));
test('knows its limits', () => assert.throws(() => greeting('xx'), RangeError));
