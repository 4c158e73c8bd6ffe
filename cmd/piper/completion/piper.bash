# Completion of piper for bash 3.2 and later.
#   eval "$(piper completion bash)"

_piper() {
    local rest="${COMP_LINE:0:COMP_POINT}" word blank i
    local -a words=()

    # Bash splits words at "=" and ":" too. What stands together is one word.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        blank="${rest%%[![:space:]]*}"
        rest="${rest#"$blank"}"
        word="${COMP_WORDS[i]}"
        [[ $rest == "$word"* ]] || word="$rest" # the cursor stands inside it
        rest="${rest#"$word"}"
        if [[ $i -gt 0 && -z $blank ]]; then
            words[${#words[@]} - 1]+="$word"
        else
            words+=("$word")
        fi
    done

    local program="${words[0]/#\~/$HOME}" cur="${words[${#words[@]} - 1]}" out
    out="$("$program" __complete "${words[@]:1}" 2>/dev/null)" || return
    out=$'\n'"$out"
    local directive="${out##*$'\n':}"
    out="${out%$'\n':*}"
    [[ $cur == -*=* ]] && cur="${cur#*=}"

    # What readline replaces begins after the last such character.
    local keep="" break
    for break in = :; do
        if [[ $COMP_WORDBREAKS == *"$break"* && $cur == *"$break"* ]]; then
            word="${cur%"${cur##*"$break"}"}"
            [[ ${#word} -gt ${#keep} ]] && keep="$word"
        fi
    done

    local -a values=() docs=()
    local line value width=0
    while IFS= read -r line; do
        value="${line%%$'\t'*}"
        [[ -n $value && $value == "$cur"* ]] || continue
        value="${value#"$keep"}"
        values+=("$value")
        if [[ $line == *$'\t'* ]]; then docs+=("${line#*$'\t'}"); else docs+=(""); fi
        [[ ${#value} -gt $width ]] && width=${#value}
    done <<<"$out"

    COMPREPLY=()
    if [[ ${#values[@]} -eq 0 ]]; then
        if ((directive & 16)); then
            type compopt &>/dev/null && compopt -o filenames
            while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -d -- "$cur")
        elif ! ((directive & 4)); then
            type compopt &>/dev/null && compopt -o filenames
            while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$cur")
        fi
        return
    fi
    if ((directive & 2)); then type compopt &>/dev/null && compopt -o nospace; fi

    # A list to read has the docs in it; a value to insert has not.
    if [[ ${#values[@]} -gt 1 && $COMP_TYPE == 63 ]]; then
        for ((i = 0; i < ${#values[@]}; i++)); do
            if [[ -n ${docs[i]} ]]; then
                printf -v line "%-${width}s  (%s)" "${values[i]}" "${docs[i]}"
                COMPREPLY+=("$line")
            else
                COMPREPLY+=("${values[i]}")
            fi
        done
    else
        COMPREPLY=("${values[@]}")
    fi
}

complete -F _piper piper
