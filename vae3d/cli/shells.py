"""The completion scripts of bash, zsh and fish.

Each script sends the line up to the cursor to `vae3d completion --words`. Candidates `@files` and
`@folders` are replaced by the shell's own completion of paths.
"""

BASH = r"""
_vae3d() {
    local line rest mark= before= path=
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            @files$'\t'* | @folders$'\t'*)
                mark=${line%%$'\t'*} rest=${line#*$'\t'}
                before=${rest%%$'\t'*} path=${rest#*$'\t'} ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <(vae3d completion --words "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    if [[ -z $mark ]]; then
        return
    elif [[ ${#COMPREPLY[@]} == 0 && -z $before ]]; then
        # Readline itself knows best how to quote paths.
        [[ $mark == @files ]] && compopt -o default +o nospace || compopt -o dirnames +o nospace
    else
        while IFS= read -r path; do
            printf -v line %q "$path"
            [[ -d ${path/#\~/$HOME} ]] && line+=/ || line+=' '
            COMPREPLY+=("$before${line/#\\~/\~}")
        done < <(if [[ $mark == @files ]]; then compgen -f -- "$path"
                 else compgen -d -- "$path"; fi)
    fi
}
complete -o nospace -F _vae3d vae3d
"""

ZSH = r"""
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
_vae3d() {
    local line rest mark before text result=1
    local -a finished begun
    local typed="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX"
    for line in "${(@f)$(vae3d completion --words "$typed" 2>/dev/null)}"; do
        rest=${line#*$'\t'} text=${${line%%$'\t'*}//:/\\:}
        case $text in
            '') ;;
            @files|@folders) mark=$text before=${rest%%$'\t'*} ;;
            *' ') finished+=("${text% }:$rest") ;;
            *) begun+=("$text:$rest") ;;
        esac
    done
    (( $#finished + $#begun )) && _describe vae3d finished -- begun -S '' && result=0
    if [[ -n $mark ]]; then
        [[ -n $before ]] && compset -P "${(b)before}"
        if [[ $mark == @files ]]; then _files && result=0; else _files -/ && result=0; fi
    fi
    return result
}
compdef _vae3d vae3d
"""

FISH = r"""
function __vae3d_complete
    for line in (vae3d completion --words (commandline -cp | string collect) 2>/dev/null)
        set -l parts (string split \t -- $line)
        switch $parts[1]
            case @files
                for path in (__fish_complete_path $parts[3])
                    echo $parts[2]$path
                end
            case @folders
                for path in (__fish_complete_directories $parts[3] '')
                    echo $parts[2]$path
                end
            case '*'
                echo (string trim --right -- $parts[1])\t$parts[2]
        end
    end
end
complete -c vae3d -f -a '(__vae3d_complete)'
"""

SCRIPTS = {"bash": BASH.lstrip(), "zsh": ZSH.lstrip(), "fish": FISH.lstrip()}
