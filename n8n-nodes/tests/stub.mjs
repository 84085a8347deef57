/** A stand-in for n8n's execution context that answers calls from a list and keeps what was sent. */

const NODE = {
	id: '1',
	name: 'Tunesmith',
	type: 'tunesmith',
	typeVersion: 1,
	position: [0, 0],
	parameters: {},
};

export function context(answers, { parameters = {}, signal } = {}) {
	const sent = [];
	const self = {
		sent,
		getNode: () => NODE,
		getCredentials: async () => ({ baseUrl: 'http://tunesmith:8765/', apiKey: 'tsk-1' }),
		getNodeParameter: (name, _i, fallback) => parameters[name] ?? fallback,
		getExecutionCancelSignal: () => signal,
		helpers: {
			async httpRequestWithAuthentication(credential, options) {
				sent.push({ credential, ...options, cancelSignal: this.getExecutionCancelSignal() });
				const answer = answers.length > 1 ? answers.shift() : answers[0];
				if (answer instanceof Error) throw answer;
				return { statusCode: 200, headers: {}, ...(await answer.after?.()), ...answer };
			},
		},
	};
	return self;
}

export const problem = (statusCode, more = {}, headers = {}) => ({
	statusCode,
	headers,
	body: {
		code: 'unavailable',
		detail: 'The model is away.',
		hint: 'Run tunesmith doctor.',
		...more,
	},
});

export const refused = () => Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
