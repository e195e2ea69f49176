// SPDX-License-Identifier: Apache-2.0
// A conversation is a tree: what is edited or asked for again becomes a branch beside what was there, and nothing is lost.
//   {id, title, isNamed, created, updated, leaf, messages: {id: {id, parent, role, text, pictures?, sounds?, reasoning?, calls?, stats?, error?, state, at}}}
// Roles: user, assistant, tool. States: done, writing, stopped, cut, failed.
import {makeId} from './dom.js';

export function newConversation() {
  const now = Date.now();
  return {id: makeId(), title: '', isNamed: false, created: now, updated: now, leaf: null, messages: {}};
}

/** From the first message to the leaf. */
export function pathOf(conversation) {
  const out = [];
  for (let id = conversation.leaf; id; id = conversation.messages[id]?.parent) {
    const message = conversation.messages[id];
    if (!message || out.length > 100_000) break;
    out.push(message);
  }
  return out.reverse();
}

export function siblingsOf(conversation, message) {
  return Object.values(conversation.messages).filter((other) => other.parent === message.parent && other.role === message.role)
    .sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1));
}

/** Puts a message under `parent` (null: at the beginning) and shows it. */
export function add(conversation, parent, fields) {
  const siblings = Object.values(conversation.messages).filter((other) => other.parent === parent);
  const latest = siblings.reduce((most, other) => Math.max(most, other.at), 0);
  const message = {id: makeId(), parent, state: 'done', text: '', at: Math.max(Date.now(), latest + 1), ...fields};
  conversation.messages[message.id] = message;
  conversation.leaf = message.id;
  conversation.updated = Date.now();
  if (!conversation.isNamed && message.role === 'user' && parent === null) conversation.title = titleOf(message);
  return message;
}

/** Takes out a message that nothing follows. */
export function drop(conversation, message) {
  delete conversation.messages[message.id];
  (conversation.dropped ??= []).push(message.id);
  if (conversation.leaf === message.id) conversation.leaf = message.parent;
}

/** Shows the branch of `message`, as far as it was last continued. */
export function choose(conversation, message) {
  let at = message;
  for (;;) {
    const next = Object.values(conversation.messages).filter((other) => other.parent === at.id).sort((a, b) => b.at - a.at)[0];
    if (!next) break;
    at = next;
  }
  conversation.leaf = at.id;
}

export function titleOf(message) {
  const text = message.text.replaceAll(/\s+/g, ' ').trim();
  if (!text) return message.pictures?.length ? 'Picture' : message.sounds?.length ? 'Recording' : 'New conversation';
  return text.length > 60 ? `${text.slice(0, 57).trimEnd()}…` : text;
}

/** Of {pictures, sounds} those that are there. */
export function mediaOf({pictures, sounds}) {
  return {...(pictures?.length ? {pictures} : {}), ...(sounds?.length ? {sounds} : {})};
}

export const hasMedia = (message) => Object.keys(mediaOf(message)).length > 0;

function contentOf(message) {
  if (!hasMedia(message)) return message.text;
  const {pictures = [], sounds = []} = message;
  const parts = [...pictures.map(({url}) => ({type: 'image_url', image_url: {url}})),
                 ...sounds.map(({url, format}) => ({type: 'input_audio', input_audio: {data: url.slice(url.indexOf(',') + 1), format}}))];
  return message.text ? [...parts, {type: 'text', text: message.text}] : parts;
}

/** What the API is sent of a path. */
export function wireOf(path, system) {
  const out = system.trim() ? [{role: 'system', content: system}] : [];
  for (const message of path) {
    if (message.role === 'user') out.push({role: 'user', content: contentOf(message)});
    else if (message.role === 'tool') out.push({role: 'tool', tool_call_id: message.callId, content: message.text});
    else if (message.text || message.calls?.length) {
      const turn = {role: 'assistant', content: message.text};
      if (message.reasoning) turn.reasoning = message.reasoning;
      if (message.calls?.length)
        turn.tool_calls = message.calls.map((call) => ({id: call.id, type: 'function', function: {name: call.name, arguments: call.arguments}}));
      out.push(turn);
    }
  }
  return out;
}
