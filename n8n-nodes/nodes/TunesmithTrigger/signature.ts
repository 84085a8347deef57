/** Standard Webhooks signatures: base64 HMAC-SHA256 over `id.timestamp.body`, with the raw bytes of the body. */

import { createHmac, timingSafeEqual } from 'node:crypto';

const TOLERANCE_S = 5 * 60;

export interface SignedHeaders {
	'webhook-id'?: string | string[];
	'webhook-timestamp'?: string | string[];
	'webhook-signature'?: string | string[];
}

/** Why a message is not to be believed, or undefined when it is from the holder of the secret, and fresh. */
export function refusal(
	secret: string,
	headers: SignedHeaders,
	body: Buffer,
	now: number = Date.now() / 1000,
): string | undefined {
	const id = headers['webhook-id'];
	const timestamp = headers['webhook-timestamp'];
	const signatures = headers['webhook-signature'];
	if (typeof id !== 'string' || typeof timestamp !== 'string' || typeof signatures !== 'string') {
		return 'The message is not signed.';
	}
	if (!/^\d+$/.test(timestamp) || Math.abs(now - Number(timestamp)) > TOLERANCE_S) {
		return 'The message is too old, or the clocks differ by more than 5 minutes.';
	}
	const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
	const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
	const expected = createHmac('sha256', key).update(signed).digest();
	const matches = signatures.split(' ').some((signature) => {
		const [version, value] = signature.split(',');
		const given = Buffer.from(value ?? '', 'base64');
		return version === 'v1' && given.length === expected.length && timingSafeEqual(given, expected);
	});
	return matches ? undefined : 'The signature does not match.';
}
