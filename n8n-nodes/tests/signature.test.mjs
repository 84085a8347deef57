import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createRequire } from 'node:module';
import { test } from 'node:test';

const require = createRequire(import.meta.url);
const { refusal } = require('../dist/nodes/TunesmithTrigger/signature.js');

// the example of the Standard Webhooks specification's libraries
const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const KNOWN = {
	'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
	'webhook-timestamp': '1614265330',
	'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
};
const BODY = Buffer.from('{"test": 2432232314}');
const NOW = 1614265330;

test('the published example is believed', () => {
	assert.equal(refusal(SECRET, KNOWN, BODY, NOW), undefined);
});

test('one of several signatures is enough, as after a rotation', () => {
	const signature = `v1,AAAA v1a,BBBB ${KNOWN['webhook-signature']}`;
	assert.equal(refusal(SECRET, { ...KNOWN, 'webhook-signature': signature }, BODY, NOW), undefined);
});

test('a changed body, id, time, version or secret is refused', () => {
	assert.match(refusal(SECRET, KNOWN, Buffer.from('{"test":2432232314}'), NOW), /does not match/);
	assert.match(refusal(SECRET, { ...KNOWN, 'webhook-id': 'msg_2' }, BODY, NOW), /does not match/);
	assert.match(
		refusal(SECRET, { ...KNOWN, 'webhook-timestamp': `${NOW + 1}` }, BODY, NOW),
		/does not match/,
	);
	const other = KNOWN['webhook-signature'].replace('v1,', 'v2,');
	assert.match(
		refusal(SECRET, { ...KNOWN, 'webhook-signature': other }, BODY, NOW),
		/does not match/,
	);
	assert.match(
		refusal(`whsec_${Buffer.alloc(24).toString('base64')}`, KNOWN, BODY, NOW),
		/does not match/,
	);
});

test('an old message and one from the future are refused, signed or not', () => {
	assert.match(refusal(SECRET, KNOWN, BODY, NOW + 301), /too old/);
	assert.match(refusal(SECRET, KNOWN, BODY, NOW - 301), /too old/);
	assert.match(refusal(SECRET, { ...KNOWN, 'webhook-timestamp': 'NaN' }, BODY, NOW), /too old/);
});

test('an unsigned message is refused', () => {
	assert.match(refusal(SECRET, {}, BODY, NOW), /not signed/);
});

test('the bytes are signed, not their text', () => {
	const body = Buffer.from([0x7b, 0xff, 0xfe, 0x7d]);
	const key = Buffer.from(SECRET.slice(6), 'base64');
	const value = createHmac('sha256', key)
		.update(Buffer.concat([Buffer.from(`a.${NOW}.`), body]))
		.digest('base64');
	const headers = {
		'webhook-id': 'a',
		'webhook-timestamp': `${NOW}`,
		'webhook-signature': `v1,${value}`,
	};
	assert.equal(refusal(SECRET, headers, body, NOW), undefined);
});
