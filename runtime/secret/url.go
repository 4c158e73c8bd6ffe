package secret

import "strings"

// RedactURL returns the text of a URL, right or wrong, without what may be a password.
func RedactURL(text string) string {
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return text
	}
	user, host, begin := text[:at], text[at:], 0
	if _, after, ok := strings.Cut(user, "://"); ok {
		begin = len(user) - len(after)
	}
	if colon := strings.IndexByte(user[begin:], ':'); colon >= 0 {
		user = user[:begin+colon]
	}
	return user + host
}
