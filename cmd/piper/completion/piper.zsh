#compdef piper
# Completion of piper for zsh.
#   eval "$(piper completion zsh)"
# or save it as _piper in a directory of $fpath.

_piper() {
    local program=${(Q)words[1]} out line value doc
    local -a before lines found options
    before=("${(@Q)words[2,CURRENT-1]}")
    program=${program/#\~/$HOME}
    out=$("$program" __complete "${before[@]}" "${(Q)PREFIX}" 2>/dev/null) || return 1

    lines=("${(@f)out}")
    local directive=${lines[-1]#:}
    [[ $PREFIX == -*=* ]] && compset -P "${PREFIX%%=*}="

    for line in "${(@)lines[1,-2]}"; do
        value=${line%%$'\t'*}
        doc=""
        [[ $line == *$'\t'* ]] && doc=${line#*$'\t'}
        value=${value//:/\\:}
        found+=("$value${doc:+:$doc}")
    done

    if (( ${#found} == 0 )); then
        if (( directive & 16 )); then
            _files -/
        elif (( !(directive & 4) )); then
            _files
        else
            return 1
        fi
        return
    fi
    (( directive & 2 )) && options=(-S '')
    _describe -V piper found "${options[@]}"
}

# Sourced, it names itself as the completer; autoloaded from $fpath, it is
# already running as one.
if [[ ${funcstack[1]} == _piper ]]; then
    _piper "$@"
else
    compdef _piper piper
fi
