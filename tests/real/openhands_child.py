"""One conversation of the real OpenHands SDK with one sentence; run by its own Python. Prints what it saw as JSON."""

import json
import sys
from pathlib import Path

from openhands.sdk import LLM, Agent, Conversation
from pydantic import SecretStr

config, model_url, folder, sentence = sys.argv[1:]
events: list[str] = []
llm = LLM(model="openai/scripted", base_url=model_url, api_key=SecretStr("sk-1"), usage_id="test", num_retries=0)
agent = Agent(llm=llm, tools=[], mcp_config=json.loads(Path(config).read_text())["mcpServers"])
conversation = Conversation(
    agent=agent,
    workspace=folder,
    callbacks=[lambda event: events.append(f"{type(event).__name__}: {event}")],
    visualizer=None,
)
conversation.send_message(sentence)
conversation.run()
status = str(conversation.state.execution_status.value)
conversation.close()
print("RESULT " + json.dumps({"status": status, "events": events}))
