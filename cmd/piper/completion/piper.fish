# Completion of piper for fish.
#   piper completion fish | source

function __piper_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l program $before[1]
    set -e before[1]

    set -l out ($program __complete $before "$current" 2>/dev/null)
    or return
    set -l directive (string sub -s 2 -- $out[-1])
    set -e out[-1]

    # fish completes the whole of "--flag=value".
    set -l prefix (string match -r -- '^-[^=]*=' "$current")
    if test (count $out) -gt 0
        for line in $out
            printf '%s%s\n' "$prefix" $line
        end
    else if test (math "bitand($directive, 16)") -ne 0
        __fish_complete_directories "$current"
    else if test (math "bitand($directive, 4)") -eq 0
        __fish_complete_path "$current"
    end
end

complete -c piper -e
complete -c piper -f -a '(__piper_complete)'
