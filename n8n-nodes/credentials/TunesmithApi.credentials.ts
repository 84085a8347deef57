import type {
	IAuthenticateGeneric,
	ICredentialTestRequest,
	ICredentialType,
	Icon,
	INodeProperties,
} from 'n8n-workflow';

export class TunesmithApi implements ICredentialType {
	name = 'tunesmithApi';

	displayName = 'Tunesmith API';

	icon: Icon = { light: 'file:../icons/tunesmith.svg', dark: 'file:../icons/tunesmith.dark.svg' };

	documentationUrl = 'http://127.0.0.1:8765/docs'; // of the service itself, at its default address

	properties: INodeProperties[] = [
		{
			displayName: 'Base URL',
			name: 'baseUrl',
			type: 'string',
			default: 'http://127.0.0.1:8765',
			placeholder: 'http://tunesmith:8765',
			required: true,
			description: 'Where Tunesmith listens, as this n8n reaches it; without /v1 at the end',
		},
		{
			displayName: 'API Key',
			name: 'apiKey',
			type: 'string',
			typeOptions: { password: true },
			default: '',
			required: true,
			description: 'A key with the scopes that your workflows need: read, train, publish, admin',
			hint: 'Made by: tunesmith keys create n8n --scope read --scope train',
		},
	];

	authenticate: IAuthenticateGeneric = {
		type: 'generic',
		properties: { headers: { Authorization: '=Bearer {{$credentials.apiKey}}' } },
	};

	test: ICredentialTestRequest = {
		request: {
			baseURL: '={{$credentials.baseUrl.replace(/\\/+$/, "")}}',
			url: '/v1/models',
		},
	};
}
